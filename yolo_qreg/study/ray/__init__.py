"""Ray's part of a study: `cluster` hands work out, `node` does it on some machine, `keeper` stores what comes back."""
