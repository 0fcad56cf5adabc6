"""The SSH tunnels through which each region's replica reaches the master: probed, judged, and healed."""
