"""Tests in the real agents: each starts the daemon and compares its values with the kernel's."""
