"""The parts that n-gram families are built from: alphabets, count tries, suffix arrays, and their engine."""
