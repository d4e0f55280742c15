-- Debian's mod_sasl2 and mod_sasl2_fast are written for a Prosody one version newer than Debian's. This gives them what
-- they miss there.

-- A method of connections, and the stream's header with the event.
module:hook("stream-features", function (event)
	local conn = event.origin.conn;
	if conn and not conn.ssl_info then
		getmetatable(conn).__index.ssl_info = function (self)
			local socket = self:socket();
			return socket and socket.info and socket:info();
		end
	end
	-- Which user it names plays no part.
	event.stream = event.stream or { from = "somebody@"..module.host };
end, 1000);

-- Times that are no whole seconds.
local datetime = require "util.datetime";
local whole = datetime.datetime;
datetime.datetime = function (time)
	return whole(time and math.floor(time));
end

-- A method of stanzas.
local stanza = require "util.stanza".stanza_mt;
stanza.get_child_attr = stanza.get_child_attr or function (self, name, xmlns, attribute)
	local child = self:get_child(name, xmlns);
	return child and child.attr[attribute];
end
