"""Commands that ask or change what is deployed."""
