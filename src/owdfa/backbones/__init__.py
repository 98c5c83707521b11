"""Libraries of networks that turn images into feature maps: one file a library."""
