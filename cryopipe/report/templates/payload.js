// Data of the page: particles as typed arrays, pictures of a tomogram decoded when they are needed.

const TYPES = { Int16Array, Uint16Array, Uint32Array, Uint8Array, Float32Array };

export function typedArray({ type, data }) {
  const text = atob(data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new TYPES[type](bytes.buffer);
}

export function readPayload() {
  const source = JSON.parse(document.getElementById("payload").textContent);
  for (const [name, array] of Object.entries(source.arrays)) source.arrays[name] = typedArray(array);
  const { tomogram, number } = source.arrays;
  source.nameOf = source.names
    ? (i) => source.names[i]
    : (i) => source.tomograms[tomogram[i]] + "/" + number[i];
  source.particlesOf = groups(tomogram, source.tomograms.length);
  let byName = null;
  source.indexOf = function (name) {
    if (!byName) {
      byName = new Map();
      for (let i = 0; i < source.count; i++) byName.set(source.nameOf(i), i);
    }
    return byName.has(name) ? byName.get(name) : -1;
  };
  return source;
}

// Indices of the members of each group, by counting.
function groups(values, count) {
  const sizes = new Uint32Array(count);
  for (const value of values) sizes[value]++;
  const members = Array.from(sizes, (size) => new Uint32Array(size));
  const filled = new Uint32Array(count);
  for (let i = 0; i < values.length; i++) members[values[i]][filled[values[i]]++] = i;
  return members;
}

// Pictures of the tomograms by index: strips of sections and the sheet of thumbnails.
export function makePictures() {
  const scripts = new Map();
  for (const script of document.querySelectorAll("script.tomogram")) scripts.set(Number(script.dataset.index), script);
  const parsed = new Map(), images = new Map();

  function tomogram(index) {
    if (!parsed.has(index) && scripts.has(index)) parsed.set(index, JSON.parse(scripts.get(index).textContent));
    return parsed.get(index) || null;
  }

  // A decoded picture ("xy", "xz" or "thumbnails"), or null; at most 24 stay decoded.
  async function image(index, which) {
    const key = index + " " + which, content = tomogram(index);
    if (!content) return null;
    if (!images.has(key)) {
      const picture = new Image();
      picture.src = "data:image/jpeg;base64," + (which === "thumbnails" ? content.thumbnails : content.strips[which].data);
      images.set(key, picture.decode().then(() => picture, () => null));
      if (images.size > 24) images.delete(images.keys().next().value);
    }
    return images.get(key);
  }
  return { tomogram, image, indices: [...scripts.keys()] };
}
