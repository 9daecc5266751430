"""mux: from the chunks of a job to one marked, checked, published video.

Reads:  mux.tasks and its retry topics (MuxTask), chunk objects.
Writes: video, thumbnail and contact sheet objects; jobs.events (published or failed); jobs.control (release or
        redo_chunk); mux.tasks.retry.<delay> for a task that fails while others get through.
State:  none. Published files are put with If-None-Match, the video last: if it exists, the job is done and adopted.
"""
