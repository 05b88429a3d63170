"""What must hold on any machine: files of every feature that decode to known symbols, whatever the libraries do."""
