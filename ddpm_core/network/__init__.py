"""The U-Net, its shape and its convolutions."""
