"""What the README's figures come from: ratios against a limit or a peer measured in the same run."""
