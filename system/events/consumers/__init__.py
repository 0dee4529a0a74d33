"""The consumers, one file each, on a shared core: `guard` decides, `pull` fetches, `runner` does the rest."""
