"""What a whole run costs: hours, money, energy."""
