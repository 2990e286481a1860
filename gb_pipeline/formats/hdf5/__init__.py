"""HDF5 stores of pandas, read without unpickling anything: a store may come from anybody."""
