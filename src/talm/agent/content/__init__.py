"""From a specification to images: references, manifests, layers, releases."""
