"""`ddpm doctor`: checks of the installation, the root, a cluster, a bucket and servers, each with a remedy."""
