"""The parts of on_card.py: each measures one thing on a card and writes one JSON file."""
