// the page loads itself again while the run goes on, unless the reader stops it
const note = document.getElementById("age"), written = Number(note.dataset.written), most = Number(note.dataset.most);
const again = document.getElementById("again");
function tell() {
  if (Date.now() / 1000 - written > most) note.hidden = false;
}
if (most > 0) {
  tell();
  setInterval(tell, 5000);
}
if (again) setInterval(() => { if (again.checked) location.reload(); }, 1000 * Number(again.dataset.seconds));
