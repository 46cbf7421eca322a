"""Networks, their options, and the ladders of sizes."""
