"""From result files to judged numbers: what a set of files says, without a word of how it is shown."""
