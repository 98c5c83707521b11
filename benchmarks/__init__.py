"""What things cost: each module measures one stage against a plain implementation, in pairs."""
