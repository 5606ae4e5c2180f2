defmodule Mapp.Conn do
  # A connection of demo_tcp: a line is a command, its answer is a line.
  #
  #   bump         count, and say the number          sleep MS     the counter does nothing else for so long
  #   state        version of the state, and count    linger MS    a process stays in the counter's code for so long
  #   shown WHAT   what a protocol says of an integer, an atom, a text
  use GenServer

  def start_link(socket), do: GenServer.start_link(__MODULE__, socket)

  @impl true
  def init(socket), do: {:ok, socket}

  @impl true
  def handle_cast({:serve, socket}, socket) do
    :inet.setopts(socket, active: :once)
    {:noreply, socket}
  end

  @impl true
  def handle_info({:tcp, socket, line}, socket) do
    :gen_tcp.send(socket, [answer(line |> to_string() |> String.split()), "\n"])
    :inet.setopts(socket, active: :once)
    {:noreply, socket}
  end

  def handle_info({:tcp_closed, socket}, socket), do: {:stop, :normal, socket}
  def handle_info({:tcp_error, socket, _}, socket), do: {:stop, :normal, socket}

  defp answer(["bump"]), do: Integer.to_string(Mapp.Server.bump())
  defp answer(["state"]), do: Mapp.Server.state()
  defp answer(["shown", "integer"]), do: Mapp.Shown.shown(1)
  defp answer(["shown", "atom"]), do: Mapp.Shown.shown(:atom)
  defp answer(["shown", "text"]), do: Mapp.Shown.shown("text")

  defp answer(["sleep", ms]) do
    Mapp.Server.sleep(String.to_integer(ms))
    "ok"
  end

  defp answer(["linger", ms]) do
    Mapp.Server.linger(String.to_integer(ms))
    "ok"
  end

  defp answer(words), do: :demo.command(:mapp, Enum.map(words, &to_charlist/1))
end
