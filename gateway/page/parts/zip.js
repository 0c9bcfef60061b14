// A zip of several files, stored as they are: an upload is one file.

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const UTF8 = 0x0800;

/** The files as one named `name`. */
export async function zipped(files, name) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const file of files) {
    const entry = {
      path: new TextEncoder().encode(file.name),
      data: new Uint8Array(await file.arrayBuffer()),
      offset,
    };
    entry.sum = crc(entry.data);
    const head = header(LOCAL, entry);
    parts.push(head, entry.data);
    directory.push(header(CENTRAL, entry));
    offset += head.length + entry.data.length;
  }
  const size = directory.reduce((sum, each) => sum + each.length, 0);
  return new File([...parts, ...directory, ending(files.length, size, offset)], name, {
    type: "application/zip",
  });
}

/** A local header, or the directory's entry, which has the same fields after another beginning. */
function header(signature, { path, data, sum, offset }) {
  const central = signature === CENTRAL;
  const begin = central ? 46 : 30;
  const made = new DataView(new ArrayBuffer(begin + path.length));
  made.setUint32(0, signature, true);
  let at = 4;
  const put16 = (value) => {
    made.setUint16(at, value, true);
    at += 2;
  };
  const put32 = (value) => {
    made.setUint32(at, value, true);
    at += 4;
  };
  if (central) put16(20);
  [20, UTF8, 0, 0, 0x21].forEach(put16); // version, names in UTF-8, stored, no time, 1 January 1980
  [sum, data.length, data.length].forEach(put32);
  [path.length, 0].forEach(put16);
  if (central) {
    [0, 0, 0].forEach(put16);
    [0, offset].forEach(put32);
  }
  new Uint8Array(made.buffer).set(path, begin);
  return new Uint8Array(made.buffer);
}

function ending(count, size, offset) {
  const made = new DataView(new ArrayBuffer(22));
  made.setUint32(0, END, true);
  made.setUint16(8, count, true);
  made.setUint16(10, count, true);
  made.setUint32(12, size, true);
  made.setUint32(16, offset, true);
  return new Uint8Array(made.buffer);
}

/** CRC-32. */
function crc(data) {
  let sum = -1;
  for (const byte of data) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return (sum ^ -1) >>> 0;
}
