"""The tunnel hosts in the template. No Lambda imports or carries this package."""
