"""What a page is about, read from files of relion-mpi and of RELION; nothing is drawn here."""
