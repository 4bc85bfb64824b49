"""From sums to maps, spectra and parameters, in float64; no MPI and no files."""
