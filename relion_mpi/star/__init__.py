"""Operations on tables of particles and micrographs, from STAR file to STAR file."""
