// The map, turned by hand: rays through a 3D texture, drawn only when something changes.
const RAYS = `#version 300 es
precision highp float; precision highp sampler3D;
uniform sampler3D map; uniform mat3 turn; uniform float level, zoom; out vec4 colour;
float at(vec3 p) { return texture(map, p + 0.5).r; }
void main() {
  vec2 xy = (gl_FragCoord.xy / 640.0 - 0.5) / zoom;
  vec3 ray = turn * vec3(0.0, 0.0, 1.0), p = turn * vec3(xy.x, -xy.y, -0.87);
  float before = 0.0; const float step_ = 0.0045;
  colour = vec4(0.0);
  for (int i = 0; i < 390; i++, p += ray * step_) {
    if (any(greaterThan(abs(p), vec3(0.5)))) continue;
    float here = at(p);
    if (here >= level) {
      p -= ray * step_ * clamp((here - level) / max(here - before, 1e-5), 0.0, 1.0);
      vec2 e = vec2(0.009, 0.0);
      vec3 n = vec3(at(p - e.xyy) - at(p + e.xyy), at(p - e.yxy) - at(p + e.yxy),
                    at(p - e.yyx) - at(p + e.yyx));
      n = transpose(turn) * (n / max(length(n), 1e-6));
      vec3 light = normalize(vec3(-0.45, -0.6, -0.75));
      float depth = dot(p, ray) + 0.5;
      float shade = (0.38 + 0.66 * max(dot(n, light), 0.0)) * (1.0 - 0.35 * depth);
      float gloss = pow(max(dot(n, normalize(light + vec3(0.0, 0.0, -1.0))), 0.0), 24.0);
      colour = vec4(min(shade * vec3(0.66, 0.79, 0.92) + 0.16 * gloss, 1.0), 1.0);
      return;
    }
    before = here;
  }
}`;
const CORNERS = `#version 300 es
void main() { gl_Position = vec4(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0, 0, 1); }`;

async function unpacked(text) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function program(gl) {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, CORNERS], [gl.FRAGMENT_SHADER, RAYS]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
  gl.useProgram(made);
  return made;
}

async function begin(box) {
  const canvas = box.querySelector("canvas"), slider = box.querySelector("input");
  const side = Number(box.dataset.side);
  const grey = await unpacked(box.querySelector("script").textContent);
  const gl = canvas.getContext("webgl2", { premultipliedAlpha: false, preserveDrawingBuffer: true });
  const rays = program(gl), where = (name) => gl.getUniformLocation(rays, name);
  gl.bindTexture(gl.TEXTURE_3D, gl.createTexture());
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  gl.texImage3D(gl.TEXTURE_3D, 0, gl.R8, side, side, side, 0, gl.RED, gl.UNSIGNED_BYTE, grey);
  for (const name of ["MIN", "MAG"])
    gl.texParameteri(gl.TEXTURE_3D, gl[`TEXTURE_${name}_FILTER`], gl.LINEAR);
  for (const name of ["S", "T", "R"])
    gl.texParameteri(gl.TEXTURE_3D, gl[`TEXTURE_WRAP_${name}`], gl.CLAMP_TO_EDGE);
  let turn = [1, 0, 0, 0, 1, 0, 0, 0, 1], zoom = 0.92, asked = false;
  const draw = () => {
    asked = false;
    gl.uniformMatrix3fv(where("turn"), false, turn);
    gl.uniform1f(where("level"), Number(slider.value));
    gl.uniform1f(where("zoom"), zoom);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  };
  const ask = () => { if (!asked) { asked = true; requestAnimationFrame(draw); } };
  // columns of turn are right, down and into the picture, in the frame of the map
  const roll = (right, down) => {
    const [a, b] = [Math.cos(right), Math.sin(right)], [c, d] = [Math.cos(down), Math.sin(down)];
    const [x, y, z] = [turn.slice(0, 3), turn.slice(3, 6), turn.slice(6, 9)];
    const x1 = x.map((v, i) => a * v + b * z[i]), z1 = z.map((v, i) => a * v - b * x[i]);
    turn = [...x1, ...y.map((v, i) => c * v + d * z1[i]), ...z1.map((v, i) => c * v - d * y[i])];
    ask();
  };
  let last = null;
  canvas.addEventListener("pointerdown", (e) => { last = e; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointerup", () => { last = null; });
  canvas.addEventListener("pointermove", (e) => {
    if (last) roll((e.clientX - last.clientX) * 0.01, (e.clientY - last.clientY) * 0.01);
    if (last) last = e;
  });
  canvas.addEventListener("wheel", (e) => {
    e.preventDefault();
    zoom = Math.min(Math.max(zoom * Math.exp(-0.001 * e.deltaY), 0.4), 6);
    ask();
  }, { passive: false });
  slider.addEventListener("input", ask);
  draw();
}

for (const box of document.querySelectorAll(".turning")) {
  if (!window.DecompressionStream || !document.createElement("canvas").getContext("webgl2")) continue;
  const [button, view] = [box.querySelector("button"), box.querySelector("div")];
  box.hidden = false;
  button.addEventListener("click", () => {
    button.hidden = true;
    view.hidden = false;
    begin(box).catch((error) => { view.textContent = "The map cannot be turned here: " + error.message; });
  });
}
