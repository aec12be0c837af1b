"""For frameworks and tools beside deliverykit; each module needs the extra that its first lines name."""
