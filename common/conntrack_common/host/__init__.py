"""The host around connection tracking: settings at boot, hooks, network, labels, programs."""
