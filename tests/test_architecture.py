"""The rules of the tree: who may import whom, who may name what, and how long anything may be."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LAYERS = (
    ('types', 'checks', 'bound', 'interpolation', 'whitening'),
    ('hosts',),
    ('parallel',),
    ('passes',),
    (
        'storage',
        'losses',
        'augment',
        'parametrizations',
        'terms',
        'optimizers',
        'feeds',
        'scores',
    ),
    ('models', 'data'),
    ('labels', 'coresets'),
    ('engine',),
    ('networks',),
    ('methods', 'regularizers'),
    ('reporting', 'exchange'),
)
FLOORS = (
    ('configs',),
    ('stages',),
    ('methods',),
    ('speed', 'evaluate', 'prepare', 'convert'),
    ('compiled', 'torch_check', 'ranking', 'ranking_worker', 'quantise', 'catalogue'),
    ('estimate',),
    ('examples', 'run', 'continual', 'table'),
    ('reproduction', 'together'),
    ('reproduce',),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FLOOR = {name: level for level, names in enumerate(FLOORS) for name in names}
DEVICES = {
    'devices',
    'local_devices',
    'device_count',
    'local_device_count',
    'Mesh',
    'make_mesh',
    'set_mesh',
}
FILES = sorted((ROOT / 'jaxdd').rglob('*.py'))
SCRIPTS = sorted((ROOT / 'experiments').rglob('*.py'))
parametrize = pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))


def imports(path):
    """Absolute dotted names of everything that a file imports."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = '.'.join((*base, *([node.module] if node.module else [])))
            yield from (f'{stem}.{alias.name}' for alias in node.names)


def top(path):
    """The module or subpackage of jaxdd that a file belongs to; '' for `jaxdd/__init__.py`."""
    return path.relative_to(ROOT / 'jaxdd').with_suffix('').parts[0].replace('__init__', '')


def named(path):
    """Every identifier and attribute that a file's code mentions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (part for alias in node.names for part in alias.name.split('.'))
        elif isinstance(node, ast.Name):
            yield node.id


def public(tree):
    """Public functions, classes and their public methods."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith('_'):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node)


@parametrize
def test_imports_point_downward(path):
    own = top(path)
    for name in imports(path):
        parts = name.split('.')
        assert parts[0] != 'experiments', f'{path} imports {name}: the library knows no scripts'
        if parts[0] == 'jaxdd' and len(parts) > 1 and own and parts[1] != own:
            assert LEVEL[parts[1]] < LEVEL[own], f'{path} may not import {name}'


@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_scripts_import_downward(path):
    own = path.relative_to(ROOT / 'experiments').with_suffix('').parts[0].replace('__init__', '')
    for name in imports(path):
        parts = name.split('.')
        if parts[0] == 'experiments' and len(parts) > 1 and own and parts[1] != own:
            assert FLOOR[parts[1]] < FLOOR[own], f'{path} may not import {name}'


def test_the_folders_are_those_of_the_map():
    for root, known in ((ROOT / 'jaxdd', LEVEL), (ROOT / 'experiments', FLOOR)):
        found = {
            path.stem
            for path in root.iterdir()
            if path.suffix == '.py' or (path / '__init__.py').exists()
        }
        assert found - {'__init__'} == set(known)


def test_no_modules_import_each_other():
    modules = {
        '.'.join(path.relative_to(ROOT).with_suffix('').parts): path
        for path in FILES + SCRIPTS
        if path.name != '__init__.py'
    }
    found = {name: set(imports(path)) for name, path in modules.items()}
    known = {
        name: names | {name.rpartition('.')[0] for name in names} for name, names in found.items()
    }
    arrows = {name: names & set(modules) for name, names in known.items()}
    while ends := [name for name, targets in arrows.items() if not targets]:
        arrows = {name: targets - set(ends) for name, targets in arrows.items() if targets}
    assert not arrows, f'a circle among {sorted(arrows)}'


@pytest.mark.parametrize(
    'module, home', [('tensorflow', 'data'), ('tensorflow_datasets', 'data'), ('orbax', 'storage')]
)
def test_one_home_for_each_heavy_dependency(module, home):
    owners = {
        path for path in FILES + SCRIPTS if module in {name.split('.')[0] for name in imports(path)}
    }
    assert {path for path in owners if path in SCRIPTS or top(path) != home} == set()


def test_tensorflow_is_not_even_mentioned_outside_data():
    strangers = [path for path in FILES + SCRIPTS if path in SCRIPTS or top(path) != 'data']
    assert [path for path in strangers if 'tensorflow' in path.read_text()] == []


def test_only_parallel_knows_devices():
    assert {path.name for path in FILES + SCRIPTS if DEVICES & set(named(path))} == {'parallel.py'}


def test_no_script_but_the_table_asks_for_a_methods_name():
    table = ROOT / 'experiments' / 'methods'
    for path in SCRIPTS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and table not in path.parents:
                sides = [node.left, *node.comparators]
                asked = {getattr(side, 'attr', getattr(side, 'id', None)) for side in sides}
                # 'own' is what the entry itself is called: a check, not a question
                assert 'method' not in asked or 'own' in asked, (
                    f"{path}:{node.lineno} asks for a method's name"
                )


@parametrize
def test_files_and_functions_stay_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 450  # of 100 columns; the formatter makes 1.28 of one of 120
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[ast.get_docstring(node) is not None :][:1]
            length = node.end_lineno - first[0].lineno + 1 if first else 0
            assert length <= 60, f'{node.name} has {length} lines'


# Hyper-parameters of a paper, an architecture or a stream each have a name of their own.
MANY = {
    'idm',
    'idc',
    'by_name',
    'conv',
    'realistic_subset',
    'record',
    'epochs_stream',
    'host_batches',
    'save_npz',
}


@pytest.mark.parametrize(
    'path',
    FILES + [path for path in SCRIPTS if 'eager' not in path.parts],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_functions_have_few_parameters(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name not in MANY:
            count = len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs)
            assert count <= 7, (
                f'{node.name} has {count} parameters; join those that belong together in a record'
            )


@parametrize
def test_public_names_are_documented(path):
    for node in public(ast.parse(path.read_text())):
        doc = ast.get_docstring(node)
        assert doc, f'{node.name} has no docstring'
        first = doc.splitlines()[0]
        assert len(first) <= 110 and first.endswith(('.', ':')), f'{node.name}: {first!r}'


def test_packages_only_re_export():
    for path in FILES:
        if path.name == '__init__.py':
            for node in ast.parse(path.read_text()).body:
                assert isinstance(node, ast.ImportFrom) or ast.get_docstring(
                    ast.Module([node], [])
                ), path
                assert all(alias.asname for alias in getattr(node, 'names', ())), path
