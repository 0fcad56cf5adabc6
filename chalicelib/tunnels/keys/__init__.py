"""Rotates the SSH keys of the tunnel hosts."""
