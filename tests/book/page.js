// What is wrong with a page of the book.
(() => {
  const faults = [];
  if (!document.title.includes("Locker")) faults.push(`the title is ${document.title}`);
  if (!document.querySelector("main h1")) faults.push("there is no heading");
  // What is too wide must be in a box of its own that scrolls.
  const windowWidth = document.documentElement.clientWidth;
  const scrolls = (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
  const isInBox = (element) => element.tagName !== "MAIN" && (scrolls(element) || isInBox(element.parentElement));
  for (const element of document.querySelectorAll("main *")) {
    const { width, right } = element.getBoundingClientRect();
    if (width && right > windowWidth + 1 && !isInBox(element)) faults.push(`too wide: ${element.outerHTML.slice(0, 200)}`);
  }
  for (const image of document.images) {
    if (!image.complete || !image.naturalWidth) faults.push(`${image.src} does not load`);
    if (!image.alt) faults.push(`${image.src} has no text for those who do not see it`);
  }
  return faults;
})()
