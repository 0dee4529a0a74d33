"""The claims of the seed and the gates of a release, as the YAML files state them."""
