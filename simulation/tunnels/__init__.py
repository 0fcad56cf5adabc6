"""One region's tunnels for ninety minutes: the product's controller, everything around it simulated."""
