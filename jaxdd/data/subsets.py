"""The subsets of ImageNet that papers distil, by the folders (WordNet numbers) of their classes."""

# Tian et al., "Contrastive Multiview Coding" (ECCV 2020), https://arxiv.org/abs/1906.05849; its
# first ten are IDC's ImageNet-10 (Kim et al., ICML 2022, https://arxiv.org/abs/2205.14959).
_HUNDRED = tuple(
    """
    n02869837 n01749939 n02488291 n02107142 n13037406 n02091831 n04517823 n04589890 n03062245
    n01773797 n01735189 n07831146 n07753275 n03085013 n04485082 n02105505 n01983481 n02788148
    n03530642 n04435653 n02086910 n02859443 n13040303 n03594734 n02085620 n02099849 n01558993
    n04493381 n02109047 n04111531 n02877765 n04429376 n02009229 n01978455 n02106550 n01820546
    n01692333 n07714571 n02974003 n02114855 n03785016 n03764736 n03775546 n02087046 n07836838
    n04099969 n04592741 n03891251 n02701002 n03379051 n02259212 n07715103 n03947888 n04026417
    n02326432 n03637318 n01980166 n02113799 n02086240 n03903868 n02483362 n04127249 n02089973
    n03017168 n02093428 n02804414 n02396427 n04418357 n02172182 n01729322 n02113978 n03787032
    n02089867 n02119022 n03777754 n04238763 n02231487 n03032252 n02138441 n02104029 n03837869
    n03494278 n04136333 n03794056 n03492542 n02018207 n04067472 n03930630 n03584829 n02123045
    n04229816 n02100583 n03642806 n04336792 n03259280 n02116738 n02108089 n03424325 n01855672
    n02090622
    """.split()
)

# name -> folders. The five of ten classes that are named after what they show are MTT's
# (Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932) beside Imagenette and Imagewoof.
SUBSETS = {
    'imagenet10': _HUNDRED[:10],
    'imagenet100': _HUNDRED,
    # tench, English springer, cassette player, chain saw, church, French horn, garbage truck, gas
    # pump, golf ball, parachute
    'imagenette': tuple(
        'n01440764 n02102040 n02979186 n03000684 n03028079 '
        'n03394916 n03417042 n03425413 n03445777 n03888257'.split()
    ),
    # Australian terrier, Border terrier, Samoyed, beagle, shih-tzu, English foxhound, Rhodesian
    # ridgeback, dingo, golden retriever, Old English sheepdog
    'imagewoof': tuple(
        'n02096294 n02093754 n02111889 n02088364 n02086240 '
        'n02089973 n02087394 n02115641 n02099601 n02105641'.split()
    ),
    # pineapple, banana, strawberry, orange, lemon, pomegranate, fig, bell pepper, cucumber, Granny
    # Smith
    'imagefruit': tuple(
        'n07753275 n07753592 n07745940 n07747607 n07749582 '
        'n07768694 n07753113 n07720875 n07718472 n07742313'.split()
    ),
    # bee, yellow lady's slipper, banana, lemon, corn, school bus, honeycomb, lion, garden spider,
    # goldfinch
    'imageyellow': tuple(
        'n02206856 n12057211 n07753592 n07749582 n12144580 '
        'n04146614 n03530642 n02129165 n01773157 n01531178'.split()
    ),
    # tabby, tiger cat, Persian, Siamese, Egyptian cat, lion, tiger, jaguar, snow leopard, lynx
    'imagemeow': tuple(
        'n02123045 n02123159 n02123394 n02123597 n02124075 '
        'n02129165 n02129604 n02128925 n02128757 n02127052'.split()
    ),
    # peacock, flamingo, macaw, pelican, king penguin, bald eagle, toucan, ostrich, black swan,
    # cockatoo
    'imagesquawk': tuple(
        'n01806143 n02007558 n01818515 n02051845 n02056570 '
        'n01614925 n01843383 n01518878 n01860187 n01819313'.split()
    ),
}
