"""What can be measured: each kind of output that figures rest on."""
