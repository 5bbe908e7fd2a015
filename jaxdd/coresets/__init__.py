"""Which real images: k-means, herding, k-center; DREAM's, RDED's and DATM's choices."""
