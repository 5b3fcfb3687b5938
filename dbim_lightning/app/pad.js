// The pad: black lines on white, sent while they are drawn. Of gr.HTML: element, props, watch.
const canvas = element.querySelector("canvas");
const pen = canvas.getContext("2d", { willReadFrequently: true });
const side = canvas.width;
const PAUSE = 150; // ms between two drawings that are sent
const past = [];
let last = null; // where the pen is, while it is down
let sent = 0; // when a drawing was, or a stroke began

function wipe() {
  pen.fillStyle = "white";
  pen.fillRect(0, 0, side, side);
}

function show(picture) {
  const image = new Image();
  image.onload = () => pen.drawImage(image, 0, 0, side, side);
  if (picture) image.src = picture;
  else wipe();
}

function keep() {
  past.push(pen.getImageData(0, 0, side, side));
  if (past.length > 30) past.shift();
}

function send() {
  sent = performance.now();
  props.value = canvas.toDataURL("image/png");
}

function place(event) {
  const scale = side / canvas.clientWidth;
  return [event.offsetX * scale, event.offsetY * scale];
}

function line(to) {
  pen.lineWidth = side / 36; // as in OpenMoji
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  pen.moveTo(...last);
  pen.lineTo(...to);
  pen.stroke();
  last = to;
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  keep();
  sent = performance.now(); // so that a short stroke is sent once, whole
  last = place(event);
  line(last);
});

canvas.addEventListener("pointermove", (event) => {
  if (!last) return;
  line(place(event));
  if (performance.now() - sent > PAUSE) send();
});

for (const end of ["pointerup", "pointercancel"])
  canvas.addEventListener(end, () => {
    if (last) send();
    last = null;
  });

element.querySelector(".undo").addEventListener("click", () => {
  if (!past.length) return;
  pen.putImageData(past.pop(), 0, 0);
  send();
});

element.querySelector(".clear").addEventListener("click", () => {
  keep();
  wipe();
  send();
});

watch("value", () => {
  keep();
  show(props.value);
});

wipe();
show(props.value);
