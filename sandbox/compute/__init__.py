"""Real EC2, Elastic Load Balancing, Auto Scaling and Systems Manager for the embedded AWS.

Instances are process trees on loopback addresses of their own, balancers are listeners, health is probed, groups keep
their size and commands run. The emulator's own records stay the one truth about what is wanted. `core.Hypervisor` looks
at them again and again and makes what runs follow.
"""
