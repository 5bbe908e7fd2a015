"""Which real images: k-means, DREAM's representatives, RDED's realistic mosaics."""
