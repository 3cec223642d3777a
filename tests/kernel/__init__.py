"""Tests on the real kernel, in network namespaces; they need root."""
