"""One region whose health checks rotate while its hosts come and go: the real operation, judged from outside."""
