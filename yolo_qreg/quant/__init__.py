"""Weight quantizers: `registry` names them (no torch), `base` says what one is, one module per method."""
