"""Files from elsewhere: fetched whole or not at all, unpacked only where they belong."""
