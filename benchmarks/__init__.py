"""What things cost: each module measures one stage against a plain baseline, pair by pair."""
