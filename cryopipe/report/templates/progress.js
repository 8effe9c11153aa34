// a page that is no longer written belongs to a run that was interrupted
const note = document.getElementById("age"), written = Number(note.dataset.written), most = Number(note.dataset.most);
function tell() {
  const age = Date.now() / 1000 - written;
  if (age > most) note.hidden = false;
}
if (most > 0) {
  tell();
  setInterval(tell, 5000);
}
