"""The proof that nothing is lost and nothing doubled: the whole portal, killed and broken on purpose."""
