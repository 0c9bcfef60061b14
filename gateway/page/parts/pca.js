// Principal components: the flat view of vectors that keeps most of what tells them apart.

const ROUNDS = 200;

/**
 * Coordinates of each vector along the first two components, and the share of the variance that each holds.
 * By power iteration over the inner products of n vectors: n is a few dozen, dimensions are hundreds.
 */
export function flat(vectors) {
  const centred = centre(vectors);
  const products = centred.map((a) => centred.map((b) => dot(a, b)));
  const total = products.reduce((sum, row, i) => sum + row[i], 0) || 1;
  const first = strongest(products);
  const second = strongest(
    products.map((row, i) => row.map((each, j) => each - first.value * first.vector[i] * first.vector[j])),
  );
  const along = ({ vector, value }) => vector.map((each) => each * Math.sqrt(Math.max(0, value)));
  const [xs, ys] = [along(first), along(second)];
  return { points: xs.map((x, i) => [x, ys[i]]), shares: [first.value / total, second.value / total] };
}

function centre(vectors) {
  const mean = vectors[0].map((_, d) => vectors.reduce((sum, each) => sum + each[d], 0) / vectors.length);
  return vectors.map((each) => each.map((value, d) => value - mean[d]));
}

/** The largest eigenvalue of a symmetric matrix, and its vector. */
function strongest(matrix) {
  let vector = matrix.map((_, i) => 1 + (i % 7) / 7); // not along any axis
  let value = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const next = matrix.map((row) => dot(row, vector));
    value = Math.hypot(...next);
    if (value < 1e-12) return { value: 0, vector: vector.map(() => 0) };
    vector = next.map((each) => each / value);
  }
  return { value, vector };
}

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += a[i] * b[i];
  return sum;
}
