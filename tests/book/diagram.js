// What is wrong with a diagram: texts that are cut, that cover each other, or that stand out too little from what is behind them.
(() => {
  const faults = [];
  const size = document.documentElement.getBoundingClientRect();
  const texts = [...document.querySelectorAll("text")];
  const boxes = texts.map((text) => text.getBoundingClientRect());

  const luminance = (color) => {
    const parts = color.match(/\d+/g).slice(0, 3).map((part) => part / 255);
    const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (light + 0.05) / (dark + 0.05);
  };
  const behind = (box) => {
    const [x, y] = [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
    const shapes = document.elementsFromPoint(x, y).filter((element) => element.matches("rect, path, circle, polygon"));
    return shapes.map((shape) => getComputedStyle(shape).fill).find((fill) => fill !== "none");
  };

  texts.forEach((text, index) => {
    const [box, color] = [boxes[index], getComputedStyle(text).fill];
    if (box.left < 0 || box.top < 0 || box.right > size.right || box.bottom > size.bottom) {
      faults.push(`"${text.textContent}" is cut`);
    }
    const ground = behind(box);
    // The least contrast of the accessibility guidelines (WCAG AA).
    if (!ground || contrast(color, ground) < 4.5) faults.push(`"${text.textContent}" is ${color} on ${ground}`);
    boxes.slice(index + 1).forEach((other, offset) => {
      const [width, height] = ["right", "bottom"].map((end, axis) => {
        const start = ["left", "top"][axis];
        return Math.min(box[end], other[end]) - Math.max(box[start], other[start]);
      });
      if (width > 1 && height > 3) faults.push(`"${text.textContent}" covers "${texts[index + 1 + offset].textContent}"`);
    });
  });
  if (!texts.length) faults.push("it has no text");
  if (!document.querySelector("svg > title")) faults.push("it has no title");
  return faults;
})()
