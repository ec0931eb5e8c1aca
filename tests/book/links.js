// Where a page leads, and where others can lead in it.
(() => ({
  links: [...document.querySelectorAll("a, area, img, link, script, iframe, source, object")]
    .map((element) => element.href ?? element.src ?? element.data)
    .filter((link) => link)
    .map(decodeURI),
  anchors: [...document.querySelectorAll("[id]")].map((element) => element.id),
}))()
