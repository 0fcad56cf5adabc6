"""`lamp conformance`: compares this product's assumptions with AWS."""
