"""The SSH tunnels through which each region's replica reaches the primary, with their probes and repairs."""
