"""What the portal does about a completion: mappings, issuances, their attempts, and the people who look after them."""
