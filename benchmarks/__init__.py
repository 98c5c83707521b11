"""What things cost: each module measures one stage against a plain baseline, in turn, in one run."""
